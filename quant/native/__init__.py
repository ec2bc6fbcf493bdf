"""The integer network in compiled code: golden's bits, several times as fast."""
