"""Checks of `templater audit`: is this image up to something?"""
