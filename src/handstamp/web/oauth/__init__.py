"""The OAuth endpoints: RFC 6749, RFC 7009, RFC 7662 and RFC 8414. Forms in, snake case out."""
