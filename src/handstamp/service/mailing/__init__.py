"""Mail: the outbox that is written in the transaction that needs it, and the work that sends it."""
