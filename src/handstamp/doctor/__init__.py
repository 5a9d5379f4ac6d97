"""Finds what is wrong with a deployment: from inside, beside the service, and from outside, as a browser sees it."""
