#!/bin/sh
# Reports what this machine is made of.
set -eu

formwork agent inventory
