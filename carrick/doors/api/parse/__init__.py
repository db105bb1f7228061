"""From Docker's JSON and query strings to the engine's requests. Pure: values in, values out.

Everything wrong with an input is an InvalidRequest, worded as Docker words it where it does.
"""
