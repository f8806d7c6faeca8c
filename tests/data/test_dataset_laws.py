"""Laws that every conf/dataset/*.yaml keeps."""

import inspect
from collections.abc import Callable

import pytest
import torch
from conftest_data import CONF, NAMES, settings_of

from vae_lab.data import Dataset, Spec
