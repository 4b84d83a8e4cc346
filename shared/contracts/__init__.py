"""The words that producers, services and consumers share: events, topics, rejections, and the one strict decoder.

Nothing in here knows a client library. Read in this order: `events`, `topics`, `rejections`, `identity`, `versions`,
`wire`, `transactions`, `records`.
"""
