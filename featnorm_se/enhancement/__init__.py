"""What ESPnet sees: the separator, the loss, the task and its registration."""
