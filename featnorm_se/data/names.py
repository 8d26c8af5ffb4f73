"""The names that VoiceBank-DEMAND gives its folders, logs and speakers."""

from __future__ import annotations

TRAIN_FOLDERS = ("noisy_trainset_28spk_wav", "clean_trainset_28spk_wav")
TEST_FOLDERS = ("noisy_testset_wav", "clean_testset_wav")
TRAIN_LOG = "log_trainset_28spk.txt"
TEST_LOG = "log_testset.txt"

VALID_SPEAKERS = ("p226", "p287")
TEST_SPEAKERS = ("p232", "p257")
_TRAIN_NUMBERS = (
    (227, 228, 230, 231, 233, 236, 239, 243, 244, 250, 254, 256, 258)
    + (259, 267, 268, 269, 270, 273, 274, 276, 277, 278, 279, 282, 286)
)  # fmt: skip
TRAIN_SPEAKERS = tuple(f"p{number}" for number in _TRAIN_NUMBERS)

TRAIN_SNRS = (15.0, 10.0, 5.0, 0.0)
TEST_SNRS = (17.5, 12.5, 7.5, 2.5)
