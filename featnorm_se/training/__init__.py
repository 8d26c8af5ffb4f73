"""Stage 3: ESPnet's task and trainer with our start, and the record of a run."""
