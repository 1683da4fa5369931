"""What this repository uses of `jaxlib._jax`, a C extension without stubs: `jax.Device` is its class.

Without it the signature of every function of `jax.numpy` that takes a device is unknown in part.
"""

class Client: ...

class Device:
    id: int
