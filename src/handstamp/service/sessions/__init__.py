"""The use cases of a session: begin, refresh, recognise, list, sign out, and the revocations that follow."""
