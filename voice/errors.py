"""Every error of ours, by what can be done about it. Translated once, at the wire, with the cause chained.

VoiceError
  (ConfigError, of config/: refuse to start; the message lists everything that is wrong)
  CallerStreamError      Twilio's stream broke its protocol: this call ends
  CallRefused            unknown agent, too many calls, bad token: this call never begins
  VendorError            something at a vendor
    VendorUnavailable    trying once more may help: network, overload, their fault
    VendorRefused        trying again cannot help: key, quota, a request they will not take
  RecordsUnavailable     the database does not answer: calls go on, what is to be written waits
"""

from config.faults import ConfigError
from voice.core.events import Vendor

__all__ = [
    "CallRefused",
    "CallerStreamError",
    "ConfigError",
    "RecordsUnavailable",
    "VendorError",
    "VendorRefused",
    "VendorUnavailable",
    "VoiceError",
]


class VoiceError(Exception):
    pass


class CallerStreamError(VoiceError):
    pass


class CallRefused(VoiceError):
    pass


class VendorError(VoiceError):
    def __init__(self, vendor: Vendor | str, detail: str) -> None:
        super().__init__(f"{vendor}: {detail}")
        self.vendor = vendor
        self.detail = detail


class VendorUnavailable(VendorError):
    pass


class VendorRefused(VendorError):
    def __init__(self, vendor: Vendor | str, detail: str, account: bool = False) -> None:
        """`account`: every call would be refused, because of the key or of what the account has left."""
        super().__init__(vendor, detail)
        self.account = account


class RecordsUnavailable(VoiceError):
    pass
