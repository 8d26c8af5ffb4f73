"""Stage 4 and ``featnorm-se enhance``: model files, the enhancer, long files, jobs."""
