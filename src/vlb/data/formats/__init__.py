"""Kinds of files, one module each: read into values and a rest, and written from them to the byte."""
