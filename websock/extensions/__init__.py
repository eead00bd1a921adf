"""Extensions of the protocol (RFC 6455, 9): the interface, and those we have.

Layer: core. May import: exceptions, frames.
"""
