"""The use cases, one verb a file. Each is an object made of exactly the collaborators that it uses.

They decide with `handstamp.domain`, keep with `handstamp.storage.store`, and know nothing of HTTP.
"""
