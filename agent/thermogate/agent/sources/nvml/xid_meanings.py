"""What the well-known XIDs mean, in our words.

Facts: NVIDIA, "XID Errors", https://docs.nvidia.com/deploy/xid-errors/
"""

MEANINGS = {
    13: "the program made the GPU fault, mostly by an access out of bounds or an illegal instruction",
    31: "the program touched device memory that is not mapped for it",
    43: "the program's work was stopped after a fault of its own; the GPU is well",
    45: "the program's work was cleaned up, after an earlier error or because it was killed",
    48: "ECC found an error in memory that it cannot correct",
    62: "the GPU's own controller halted",
    63: "a faulty row or page of memory was put on record to be replaced; the next reset of the GPU does it",
    64: "a faulty row or page of memory could not be put on record to be replaced",
    74: "an NVLink failed",
    79: "the GPU has fallen off the bus",
    92: "ECC corrects errors at a high rate",
    94: "an uncorrectable memory error hit one program only, which was stopped",
    95: "an uncorrectable memory error could not be contained: all programs on the GPU are affected",
    119: "the GPU's system processor (GSP) did not answer the driver in time",
    120: "the GPU's system processor (GSP) reported an error",
    140: "an uncorrectable ECC error was not recovered from",
    154: "what the GPU needs to recover (reset, drain, reboot) has changed",
}
