"""The only package that imports cryptographic libraries. They do the primitives; the strict parsing around them is ours."""
