"""One pure engine for what is withheld: fields by policy, known secrets by value, characters that people cannot see.

No Django, no I/O. `engine.Redactor` puts the parts together for the result of a tool.
"""
