"""The lines of a Postfix ``smtpd -v`` log that are no dialog: twenty kinds, in the shape in which smtpd writes them."""

from __future__ import annotations

#: ``{name}`` and ``{ip}`` of the client, ``{to}`` an address, ``{n}`` a number. Some look like dialog.
KINDS = {
    "match_list_match": "match_list_match: {name}: no match",
    "match_string": "match_string: mydestination: example.com ~? mx.example.com",
    "match_hostname": "match_hostname: mynetworks: {name} ~? 192.0.2.0/24",
    "match_hostaddr": "match_hostaddr: mynetworks: {ip} ~? 192.0.2.0/24",
    "smtp_stream_setup": "smtp_stream_setup: maxtime=300 enable_deadline=0 min_data_rate=0",
    "wanted": "private/rewrite socket: wanted attribute: address",
    "attribute_name": "input attribute name: address",
    "attribute_value": "input attribute value: {to}",
    "send": "send attr address = {to}",
    "rewrite_clnt": "rewrite_clnt: local: {to} -> {to}",
    "resolve_clnt": "resolve_clnt: `' -> `{to}' -> transp=`smtp' host=`[192.0.2.40]:25' rcpt=`{to}' flags= class=default",
    "ctable_locate": "ctable_locate: install entry key ?{to}",
    "extract_addr": "extract_addr: in: <{to}>, result: {to}",
    "generic_checks": "generic_checks: name=permit_mynetworks status=0",
    "maps_find": "maps_find: hash:/etc/postfix/access: {to}: not found",
    "mail_addr_find": "mail_addr_find: {to} -> (not found)",
    "restrictions": ">>> START Recipient address RESTRICTIONS <<<",
    "auth_destination": "permit_auth_destination: {to}",
    "check_queue": "smtpd_check_queue: blocks 4096 avail {n} min_free 0 msg_size_limit 52428800",
    "mechanism": "sasl_mech_filter: keep SASL mechanism: 'SCRAM-SHA-256'",
}

_LOOKUP = ("send", "wanted", "attribute_name", "attribute_value", "rewrite_clnt")

#: What smtpd says beside each kind of step, in its order.
AFTER = {
    "greeting": ("match_list_match", "match_hostname", "match_hostaddr", "smtp_stream_setup"),
    "hello": ("smtp_stream_setup", "mechanism", "match_list_match", "match_list_match"),
    "auth": ("smtp_stream_setup", "mechanism"),
    "answer": ("smtp_stream_setup", "mechanism"),
    "mail": ("smtp_stream_setup", "extract_addr", *_LOOKUP, "resolve_clnt", "ctable_locate", "check_queue"),
    "rcpt": (
        *("extract_addr", *_LOOKUP, "resolve_clnt", "ctable_locate", "restrictions", "generic_checks"),
        *("match_hostname", "match_hostaddr", "match_list_match", "auth_destination", "maps_find", "maps_find"),
        *("mail_addr_find", "match_string", "restrictions", "smtp_stream_setup"),
    ),
    "data": ("smtp_stream_setup", "wanted", "attribute_name", "attribute_value"),
    "end": ("wanted", "attribute_name", "attribute_value", "smtp_stream_setup"),
    "rset": ("smtp_stream_setup",),
    "quit": ("smtp_stream_setup", "match_list_match", "match_hostaddr"),
}
