"""The library under Blood Cell Lab's pages and command line: data, networks, training, evaluation, prediction.

Nothing heavy is imported here: `torch` comes in with the modules that compute.
"""

__version__ = "0.1.0"
