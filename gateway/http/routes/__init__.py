"""The endpoints, with one module for each interface.

A route reads its parameters and body, calls `gateway.inference`, and writes the answer. Only `image_form` is shared
between routes.
"""
