// SPDX-License-Identifier: Apache-2.0

package main

import "slices"

// test is one that a matrix of kernels runs.
type test struct {
	name   string
	once   bool     // only the first kernel of a matrix runs it: it hardly depends on the kernel
	probes []string // it runs again with each variant of these probes' hooks that is not the best
}

// group is the tests of a package that one run adds to the smaller ones.
type group struct {
	pkg   string
	from  run
	tests []test
}

// verbs is the package whose tests run ktrace as users do.
const verbs = "cmd/ktrace"

// groups is the list. Packages of wholePackages, which run all of their tests in core, are here for ci only.
func groups() []group { return slices.Concat(inCI(), inCore(), inAll()) }

// inCI are the tests of the smallest run.
func inCI() []group {
	return []group{
		// What is most unlike from kernel to kernel: which variant of a hook is taken, the verifier's limits, what
		// netfilter and conntrack report.
		{"tracer", ci, []test{
			{name: "TestEffortIsReadFromTheLog"},
			{name: "TestEveryCgroupIsReportedInOrder"},
			{name: "TestEveryFlowWithoutANATRuleIsReported"},
			{name: "TestEveryFlowWithoutRoomIsReported"},
			{name: "TestEveryHandshakeIsReportedOnce"},
			{name: "TestEveryInvalidPacketHasItsText"},
			{name: "TestEveryReasonOfThisKernelHasAMeaning"},
			{name: "TestEveryRejectIsReported"},
			{name: "TestEverySYNForAFullAcceptQueueIsReported"},
			{name: "TestEveryVariantIsTakenWhereItsFeaturesAre"},
			{name: "TestVerdictNamesTheHook"},
			{name: "TestVerdictOfConntrackNamesTheFlowThatWasFirst"},
			{name: "TestVerifierEffortStaysWhatItWas"},
		}},
		// One verb for each kind of hook: tracepoints and cgroups, TC, ext4 and system calls; and the capabilities,
		// which differ by kernel.
		{verbs, ci, []test{
			{name: "TestCaptureTakesThePacketsOfAPod", probes: []string{"tap"}},
			{name: "TestDNSNamesTheCause", probes: []string{"path"}},
			{name: "TestEveryViewHasARecording", once: true},
			{name: "TestFsyncSeesEveryWayToSync", probes: []string{"fsync"}},
			{name: "TestFsyncSeesThroughAnOverlayOnce"},
			{name: "TestVerbNamesTheRemedy", once: true},
			{name: "TestVerbsWorkWithFewCapabilities", once: true},
			{name: "TestVersion", once: true},
		}},
	}
}

// inCore are those that a run of the core adds.
func inCore() []group {
	return []group{
		// Each verb's counts and causes, and what doctor reports.
		{verbs, core, []test{
			{name: "TestCaptureCountsWhatItLosesExactly", probes: []string{"tap"}},
			{name: "TestDNSCountsAsAttemptsOnlyWhatIsSentAgain"},
			{name: "TestDNSCountsOnePodsQueriesExactly"},
			{name: "TestDNSCountsQueriesOverTCPExactly"},
			{name: "TestDiagnoseEndsWhenItIsCertain", once: true},
			{name: "TestDiagnoseEndsWithStatus3IfSomethingIsWrong", once: true},
			{name: "TestDiagnoseFindsTheOneCause"},
			{name: "TestDiagnoseIsSilentOnHealthyMixedLoad"},
			{name: "TestDiagnoseIsSilentWhenEndpointsChange"},
			{name: "TestDoctorReportsDropReasonsWhereTheyAre"},
			{name: "TestDoctorReportsMemlockWhereItCounts", once: true},
			{name: "TestDoctorReportsSELinuxInForce", once: true},
			{name: "TestDoctorReportsWhatIsMissing", once: true},
			{name: last, once: true},
			{name: "TestDropNamesRulesBeneathIP"},
			{name: "TestDropNamesTheFirewallRule", probes: []string{"netfilter"}},
			{name: "TestDropNamesTheNetworkPolicy"},
			{name: "TestDropNamesTheNetworkPolicyOfNFTables"},
			{name: "TestDropNamesTheNetworkPolicyOfOtherForms"},
			{name: "TestDropNamesTheProgramThatDrops"},
			{name: "TestDropNamesTheProgramThatIsAsked"},
			{name: "TestDropNamesWhatIsWrongOnTheWay", probes: []string{"path"}},
			{name: "TestDropNamesWhatTheReasonMeans", probes: []string{"path"}},
			{name: "TestFsyncCountsExactlyWhatIsBelowThePath"}, // goes through all variants by itself
			{name: "TestFsyncOverTheLimitIsAFindingAndUnderItIsNot"},
			{name: "TestMTUNamesWhatTakesNoMore", probes: []string{"path"}},
			{name: "TestNATNamesWhatIsWrongWithServices", probes: []string{"path", "netfilter"}},
			{name: "TestResetScenarios", probes: []string{"sock"}},
			{name: "TestTypesFromAFileServeWhereTheKernelReportsNone", once: true},
		}},
	}
}

// inAll are those that only a run of all has.
func inAll() []group {
	return []group{
		// All other scenarios of the verbs: what they find is made of events that core has on each kernel.
		{verbs, all, named(
			"TestCaptureAtFullSpeedLosesNothingUncounted",
			"TestCaptureComesBackWhereADeviceIsSetUpAnew",
			"TestCaptureFollowsAPodThatComesLater",
			"TestCaptureIsReadFromAPipe",
			"TestCaptureIsTcpdumpByTheNamesOfFiles",
			"TestCaptureIsTcpdumpByWhatItTakes",
			"TestCaptureIsTcpdumpByWhenItEnds",
			"TestCaptureIsTcpdumpByWhenItWrites",
			"TestCaptureRefusesAnExpressionAndPointsAtIt",
			"TestCaptureShowsLinesAsTcpdumpWithNamesOfPods",
			"TestCapturedFilesSayInTsharkWhatWasMeant",
			"TestCapturesClaimNothingThatTheyDoNotShowOfTCP",
			"TestCapturesHaveDNSOverTCP",
			"TestCapturesOfOtherProtocolsHaveNoDNS",
			"TestCapturesShowDNSByWhatIsSeen",
			"TestCapturesShowThatACutAnswerWasHadOverTCP",
			"TestCapturesShowWhyThereWasNoAnswerOverTCP",
			"TestDNSDistinguishesAnswersFromWhatIsNone",
			"TestDNSFollowsTheNodesOwnLookupsToABridge",
			"TestDNSNamesABadResolvConf",
			"TestDNSNamesTheReasonThatAServerGives",
			"TestDNSNamesTheSlowServer",
			"TestDNSNamesWhatIsWrongWithNamesAndAnswers",
			"TestDNSOverTCPNamesTheCause",
			"TestDNSReadsExtendedCodesErrorsAndLongAnswers",
			"TestDNSReportsLargeAnswersThatAreLost",
			"TestDiagnoseClaimsNothingOfWhatIsNoLoss",
			"TestDiagnoseComparesBackendsWithEndpoints",
			"TestAConnectionThatGoesOnIsNoFailure",
			"TestDatagramsThatWantNoAnswerAreNoFailure",
			"TestDiagnoseCriesForNoTraceroute",
			"TestDiagnoseFindsAServerThatAsksItself",
			"TestDiagnoseFindsFullAcceptQueues",
			"TestDiagnoseFindsThatAClientHasNoPortLeft",
			"TestDiagnoseFindsThatNoPortIsLeft",
			"TestDiagnoseFindsTheTunnelAndNoNeighbourBehindIt",
			"TestDiagnoseFindsTunnelsThatNothingComesBackBy",
			"TestDiagnoseFindsWhoHasTheTunnelsPort",
			"TestDiagnoseFindsWhyATunnelsPacketIsNotTaken",
			"TestDiagnoseKnowsKubeProxysNFTables",
			"TestDiagnoseNamesADiskTooSlowForEtcd",
			"TestDiagnoseNamesAReceiverThatStalls",
			"TestDiagnoseNamesBothOfTwoFaults",
			"TestDiagnoseNamesConnectsWithoutAnAnswer",
			"TestDiagnoseNamesDatagramsWithoutAnAnswer",
			"TestDiagnoseNamesForgottenConnections",
			"TestDiagnoseNamesLossyWays",
			"TestDiagnoseNamesSyncsThatWaitForACPU",
			"TestDiagnoseNamesTheNeighbourOfSlowSyncs",
			"TestDiagnoseNamesTheSettingOfTheNode",
			"TestDiagnoseNamesWhatARouterSays",
			"TestDiagnoseNamesWhatIsNotMasqueraded",
			"TestDiagnoseNamesWhatIsWrongWithADNSServer",
			"TestDiagnoseNamesWhatIsWrongWithDNSOverTCP",
			"TestDiagnoseNamesWhatPassesTheRulesBy",
			"TestDiagnoseNamesWhatSplitsAFlow",
			"TestDiagnoseReportsACauseOnce",
			"TestDiagnoseReportsNoConsequences",
			"TestDiagnoseReportsToATerminalAtOnce",
			"TestDiagnoseSaysWhatIsOver",
			"TestDiagnoseSeesConnectsThatMakeNoPacket",
			"TestDiagnoseTakesAFaultNowAndThenForNoneThatIsOver",
			"TestDiagnoseTakesNoServerForAService",
			"TestDiagnoseTakesNoServerOutsideForAService",
			"TestDiagnoseTellsLookalikesApart",
			"TestDiagnoseWeighsTheCPUsBeforeTheDisk",
			"TestDropCountsEveryPacket",
			"TestDropKnowsAPodBehindSourceTranslation",
			"TestDropSaysTheHookThatDropped",
			"TestFsyncFilesSayWhatTheRunSaid",
			"TestFsyncKnowsAFileByWhereItIsNow",
			"TestFsyncListsWhatIsStillInFlight",
			"TestFsyncReportsTheSlowestTenWithoutSendingAll",
			"TestFsyncReportsWhereTheTimeWent",
			"TestFsyncThatFailsIsAFinding",
			"TestFsyncWithoutAPathNamesFilesByTheirMount",
			"TestMTUFindsHoles",
			"TestMTUTakesNoOtherTroubleForAHole",
			"TestNATNamesPacketsThatRace",
			"TestResetDoesNotTakeAFirewallForTheServer",
			"TestResetNamesASynThatMeetsAnOlderConnection",
			"TestResetNamesEndsByTheirRole",
			"TestResetNamesPodsOnTheNodesNetwork",
			"TestResetNamesTheRuleThatRejects",
			"TestResetRecordingSaysWhatTheRunSaid",
			"TestResetReportsRequestsThatAreLost",
			"TestResetShowsWhoRefuses",
			"TestResetsWithoutLoss",
		)},
	}
}

// last runs by itself at the end of the first kernel's tests: what it sets can only be undone by a reboot.
const last = "TestDoctorReportsWhatIsSetUntilTheNextBoot"

func named(names ...string) []test {
	var all []test
	for _, name := range names {
		all = append(all, test{name: name})
	}
	return all
}

// wholePackage is a package, or a tree of them, all of whose tests depend on the kernel.
type wholePackage struct {
	pkg  string
	once bool // as of a test
}

// wholePackages are more special first.
func wholePackages() []wholePackage {
	return []wholePackage{
		{"tracer/filterjit", true},
		{"tracer/netns", true},
		{"tracer/node", true},
		{"tracer/...", false},
		{"testdata/lab", true},
	}
}
