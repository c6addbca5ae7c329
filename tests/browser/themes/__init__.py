"""Settings of sites whose admin wears a theme of other people, a module for each."""
