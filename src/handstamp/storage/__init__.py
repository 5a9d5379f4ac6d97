"""Where sessions, accounts and keys are kept. Services know `store` alone; `handstamp.assemble` names the concrete ones."""
