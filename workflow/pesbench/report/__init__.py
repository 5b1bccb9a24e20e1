"""Tables, figures and the page, made from stored scores alone."""
