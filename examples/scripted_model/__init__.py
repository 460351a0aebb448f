"""A loopback server with the chat completions protocol and rules instead of a language model behind it.

It exists so that demo and tests run through the real client, retries, streaming and budgets with no model at hand.
Everything it answers is labelled as scripted. It compares what it reads; no id of the demo stands in its rules.
"""
