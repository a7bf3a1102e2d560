"""The page of `vlb explore`: what `vlb.pages.explorer` shows, laid out with gradio (the extra `explore`) and served to
this machine alone."""
