"""Field types of a form: roles, parsing and checking of values."""
