"""The mini corpus: speech and noise, mixed in VoiceBank-DEMAND's layout."""
