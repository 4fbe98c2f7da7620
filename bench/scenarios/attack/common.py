"""What the attacks share."""

PROXY = {"SYMBOLON_TRUSTED_PROXIES": "127.0.0.0/8"}
# Limits for one address that are never reached: all users are registered from one.
NO_ADDRESS_LIMIT = {"SYMBOLON_THROTTLE_REGISTRATIONS": "100000/1h", "SYMBOLON_THROTTLE_LOGINS": "100000/15m"}
NO_NAME_LIMIT = {"SYMBOLON_THROTTLE_NAME": "100000/15m"}


def address(number):
    """A client's address."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def login(client, name, password, address=None):
    """Status, headers and body of a login."""
    return client.raw("POST", "/v1/login", {"login_name": name, "password": password}, address=address)
