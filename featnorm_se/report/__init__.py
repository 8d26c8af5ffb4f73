"""Score files in; tables, plots and the HTML page out. Nothing here is typed by hand."""
