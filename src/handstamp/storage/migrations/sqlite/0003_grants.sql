-- What the application said at the start of a session about its tokens: scope, roles and claims, as JSON.
ALTER TABLE session ADD COLUMN granted TEXT NOT NULL DEFAULT '{}';
