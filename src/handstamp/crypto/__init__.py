"""The only files that import cryptographic libraries. The primitives are theirs; the strictness around them is ours."""
