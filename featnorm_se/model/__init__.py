"""What ESPnet's registry sees: separator, head and loss."""
