"""The endpoints, with one module for each interface.

A route reads its parameters and body, calls `gateway.inference`, and writes the answer. What routes share is in
`image_form`. Only `gateway.app` may import this package.
"""
