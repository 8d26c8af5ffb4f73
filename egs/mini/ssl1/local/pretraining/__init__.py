"""Self-supervised pre-training of small Mockingjay and TERA models on clean speech."""
