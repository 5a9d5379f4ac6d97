"""The pages that people see, and the documentation page: templates, styles, scripts, and what fills them."""
