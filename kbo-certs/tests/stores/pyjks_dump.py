"""Prints a JKS as JSON: {alias: {"key": hex or null, "chain": [hex]}}. Arguments: the store, a file with its password."""

import json
import sys

import jks

with open(sys.argv[2], encoding="utf-8") as file:
    password = file.read()
store = jks.KeyStore.load(sys.argv[1], password)
entries = {}
for alias, entry in store.private_keys.items():
    entries[alias] = {"key": entry.pkey_pkcs8.hex(), "chain": [der.hex() for _, der in entry.cert_chain]}
for alias, entry in store.certs.items():
    entries[alias] = {"key": None, "chain": [entry.cert.hex()]}
print(json.dumps(entries))
