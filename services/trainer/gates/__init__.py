"""What a candidate has to show before it may answer beside decisions: one gate a module, each pure where it can be.

`examine` puts a candidate to all of them. A gate has a name and a verdict with its figures in words; its limit stands
in `limits`, with the reason in docs/operations/promotion.md.
"""
