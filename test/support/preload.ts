// Runs before every test file: nothing here may start or change anything that a test does not ask for.
process.env.UNIBUS_DEBUG = "";
