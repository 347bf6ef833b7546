-- 004_reference.sql - cells whose reference was scored in another arithmetic than their own: a model's noise floor.
ALTER TABLE cells ADD COLUMN reference TEXT NOT NULL DEFAULT '';
