// Runs before every test file: must not start or change anything that a test does not ask for.
process.env.UNIBUS_DEBUG = "";
