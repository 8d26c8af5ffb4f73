"""What ESPnet's registry sees: separator, head, framing and loss."""
