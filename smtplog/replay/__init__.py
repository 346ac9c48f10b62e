"""Replay: a dialog played again, to the terminal, to a server, or in place of one.

``turns`` makes of a dialog what was sent over the wire; ``client`` and ``server`` are the two sides of the play without any
socket (sans-IO): generators that say what is to be done next and are given what came; ``wire`` does it.
"""
