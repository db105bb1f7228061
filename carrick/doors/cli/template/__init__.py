"""`--format`: the part of Go's text/template that Docker's users write. Pure.

`evaluator.parse` turns a text into a `Template`; its `render` fills it in from JSON values and
`values.Record`s. What cannot be parsed or evaluated raises `values.TemplateError` with Go's words,
and nothing else does. Records need only `values`, which is light to import.
"""
