"""What the warehouse's rows have to be like before anything is learnt from them, by Great Expectations.

`frames` reads, `suites` says what is expected, `checks` holds the one against the other and writes the pages that show
it.
"""
