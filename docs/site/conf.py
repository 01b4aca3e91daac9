"""Sphinx's settings for the course as a web site; `make site` copies them beside the pages. See tools/site.py."""

project = "minimagen"
html_title = "minimagen"
author = copyright = "the minimagen authors"

extensions = ["myst_nb"]
nb_execution_mode = "off"  # the pages show the outputs that the tests hold the lessons to
nb_merge_streams = True
nb_code_prompt_show = "Show the answer"  # only answers are folded
nb_code_prompt_hide = "Hide the answer"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
suppress_warnings = ["myst.header"]  # a cell may begin with a heading of any level

html_theme = "furo"
html_static_path = ["_static"]
html_extra_path = ["download"]
html_css_files = ["course.css"]
html_copy_source = False
html_show_sphinx = False
mathjax_path = "mathjax/tex-svg.js"  # from a package, not from a server: the site works without a network
exclude_patterns = ["download"]
