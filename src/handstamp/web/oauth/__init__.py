"""The OAuth endpoints: RFC 6749, RFC 7009 and RFC 7662."""
